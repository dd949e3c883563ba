"""The product's side: a small Django project with two chat views."""
