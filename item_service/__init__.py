"""ItemService: titles, descriptions, brands and categories to vectors."""
