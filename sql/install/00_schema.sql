\echo Use "CREATE EXTENSION recsys" to load this file. \quit

-- The service functions and tables live in a schema of their own; types,
-- operators and operator classes go to the schema named in CREATE EXTENSION.
CREATE SCHEMA recsys;
GRANT USAGE ON SCHEMA recsys TO PUBLIC;

