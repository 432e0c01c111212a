"""The HTTP surface. Only this package knows the web framework."""
