"""Result objects, a folder a kind: each module has one ``build(...)`` that returns pydicom data sets."""
