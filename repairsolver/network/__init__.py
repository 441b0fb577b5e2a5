"""Networks: the graph of operators, its forward pass, and ONNX, NNet and torch in and out."""

from repairsolver.network.forward import activations as activations
from repairsolver.network.forward import forward as forward
from repairsolver.network.graph import Network as Network
from repairsolver.network.graph import Node as Node
from repairsolver.network.load import load_network as load_network
from repairsolver.network.onnx_out import replace_parameters as replace_parameters
from repairsolver.network.onnx_out import save_network as save_network
from repairsolver.network.replay import replay as replay
