"""What to run with: hardware profiles and recipes as data, and how they are found and checked."""
