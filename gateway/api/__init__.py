"""Routes, their OpenAPI description, and errors as problem documents."""
