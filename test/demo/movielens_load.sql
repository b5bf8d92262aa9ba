-- movielens_load.sql
--		Tables of films and ratings.  Variable: dir.

CREATE TABLE items
(
	id integer PRIMARY KEY,			-- movieId
	title text NOT NULL,
	genres text[] NOT NULL,
	year integer,
	embedding vector(64)			-- NULL: nobody rated it, no vector
);
CREATE TABLE events
(
	user_id integer,
	item_id integer,
	rating real NOT NULL,
	PRIMARY KEY (user_id, item_id)
);
CREATE TABLE held_out				-- liked later
(
	user_id integer,
	item_id integer,
	PRIMARY KEY (user_id, item_id)
);
CREATE TABLE user_features
(
	user_id integer PRIMARY KEY,
	films integer[],
	ratings real[],					-- of the films, in their order
	n_ratings integer,
	mean_rating double precision,
	mean_year double precision		-- after 1990
);

-- The trainer writes the vectors in a file of their own.
CREATE TEMPORARY TABLE new_item (LIKE items);
ALTER TABLE new_item DROP COLUMN embedding;
CREATE TEMPORARY TABLE new_vector (id integer, embedding vector(64));
\set file :dir '/items.tsv'
COPY new_item FROM :'file';
\set file :dir '/item_vectors.bin'
COPY new_vector FROM :'file' (FORMAT binary);
INSERT INTO items SELECT * FROM new_item LEFT JOIN new_vector USING (id);

\set file :dir '/events.tsv'
COPY events FROM :'file';
\set file :dir '/held_out.tsv'
COPY held_out FROM :'file';

INSERT INTO user_features
SELECT
	e.user_id,
	array_agg(i.id ORDER BY i.id),
	array_agg(e.rating ORDER BY i.id),
	count(*),
	avg(e.rating),
	coalesce(avg(i.year - 1990), 0)
FROM events e JOIN items i ON i.id = e.item_id
GROUP BY e.user_id;
VACUUM ANALYZE;
