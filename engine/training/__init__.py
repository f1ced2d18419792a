"""The only room with torch: one trainer process and what it is made of."""
