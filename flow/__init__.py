"""How did the pixels move? Arrays in, arrays out; knows nothing of the tracker."""

from flow.estimator import load_estimator

__all__ = ["load_estimator"]
