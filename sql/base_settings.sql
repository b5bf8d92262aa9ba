-- The settings: defaults, bounds, and that a misspelt name is refused
LOAD 'recsys';
SELECT name, setting, unit, vartype, context, min_val, max_val, boot_val
FROM pg_settings WHERE name LIKE 'recsys.%' ORDER BY name;

SET recsys.hnsw_ef_search = 100;
SHOW recsys.hnsw_ef_search;
RESET recsys.hnsw_ef_search;
SHOW recsys.hnsw_ef_search;
SET recsys.model_cache_size = '128MB';
SHOW recsys.model_cache_size;

SET recsys.hnsw_ef_search = 0;
SET recsys.hnsw_ef_search = 100001;
\set VERBOSITY sqlstate
SET recsys.model_cache_size = '1023kB';
\set VERBOSITY default
SET recsys.model_cache_size = 'much';
SET recsys.hnsw_efsearch = 40;
