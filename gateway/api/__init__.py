"""The routes, their OpenAPI description, and errors as problem documents."""
