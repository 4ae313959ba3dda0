"""What comes from others: hostile files, the network, and what the studio's own files hold."""
