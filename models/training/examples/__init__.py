"""Example bundles in the model zoo's form, trained in minutes on drawings. They claim nothing for patients."""
