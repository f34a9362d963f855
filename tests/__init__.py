"""A package, so that its `scenes` is not taken for the project's."""
