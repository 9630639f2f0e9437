"""How far a quantised model's outputs are off, which kernels it got, how long its parts take, and what is to blame."""
