"""What people look at: tables, curves, figures."""
