"""Result objects: each module offers one ``build(...)`` that returns pydicom data sets."""
