"""Recipes, the one training loop, and all that is done with a trained model. Torch lives here; Qt does not."""
