"""Icons, styles and demo data; read through importlib.resources."""
