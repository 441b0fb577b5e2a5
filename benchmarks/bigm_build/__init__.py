"""How long it takes to build a big-M model and pass it to HiGHS."""
