"""Hardware profiles and recipes: YAML files, their parser, the catalog, and plans made from them."""
