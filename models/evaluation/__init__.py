"""Measuring a model: cross-validation, scope, shortcuts, explanations, figures, plots and the card."""
