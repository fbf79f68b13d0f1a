"""Lists that are no searches: popular products, completed carts, what is bought again, what rises."""
