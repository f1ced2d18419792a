"""Alerts outside of the terminal: rules over the record, and delivery by command, webhook and mail."""
