"""RetrievalService: vectors to the nearest products, the popular ones, and what is known of each."""
