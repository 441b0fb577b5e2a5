"""What it costs to prove ACAS Xu properties for every float32 execution, not only in real arithmetic."""
