-- debian_index.sql
--		The index: the vector, and the columns that the statement filters by.

CREATE INDEX items_embedding ON items
	USING recsys_hnsw (embedding, section, size_kb);
ANALYZE items;
