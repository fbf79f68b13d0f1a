"""Which products a query allows: filters, excluded ids, and conditions."""
