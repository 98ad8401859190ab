"""The kinds of topology that a scenario may name."""

TOPOLOGIES = {
    "star": "wsim.graphs.kind:Star",
    "radio": "wsim.graphs.kind:Radio",
    "ring": "wsim.graphs.lattices:Ring",
    "chain": "wsim.graphs.lattices:Chain",
    "torus": "wsim.graphs.lattices:Torus",
    "circulant": "wsim.graphs.lattices:Circulant",
    "hypercube": "wsim.graphs.lattices:Hypercube",
    "complete": "wsim.graphs.lattices:Complete",
    "binary_tree": "wsim.graphs.trees:BinaryTree",
    "dyck": "wsim.graphs.named:Dyck",
    "dyck_ccl": "wsim.graphs.named:DyckCcl",
    "petersen": "wsim.graphs.named:Petersen",
    "exponential": "wsim.graphs.exponential:Exponential",
    "one_peer_exponential": "wsim.graphs.exponential:OnePeerExponential",
    "random_regular": "wsim.graphs.random:RandomRegular",
    "erdos_renyi": "wsim.graphs.random:ErdosRenyi",
    "small_world": "wsim.graphs.random:SmallWorld",
    "random_geometric": "wsim.graphs.random:RandomGeometric",
    "file": "wsim.graphs.file:EdgeList",
}
