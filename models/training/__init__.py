"""Training and evaluation of the models that ship with Candela."""
