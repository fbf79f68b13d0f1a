"""The requests and answers of the REST API, and how requests are parsed."""
