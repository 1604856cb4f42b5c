"""What the suites of tests share: real servers, clients, pictures, catalogs, and installations in memory."""
