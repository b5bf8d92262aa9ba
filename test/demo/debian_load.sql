-- debian_load.sql
--		Tables of Debian's packages and of machines.  Variable: dir.

CREATE TABLE items
(
	id integer PRIMARY KEY,
	name text NOT NULL UNIQUE,
	section text NOT NULL,
	size_kb bigint NOT NULL,
	description text NOT NULL,
	embedding vector(128)			-- NULL: no relation, no vector
);
CREATE TABLE events				-- which machine has which package
(
	user_id integer,
	item_id integer,
	PRIMARY KEY (user_id, item_id)
);
CREATE TABLE held_out (LIKE events);
CREATE TABLE user_features
(
	user_id integer PRIMARY KEY,
	packages integer[],
	n_packages integer,
	mean_log_size double precision,
	lib_share double precision,
	devel_share double precision,
	desktop_share double precision
);

-- The trainer writes the vectors in a file of their own.
CREATE TEMPORARY TABLE new_item (LIKE items);
ALTER TABLE new_item DROP COLUMN embedding;
CREATE TEMPORARY TABLE new_vector (id integer, embedding vector(128));
\set file :dir '/items.tsv'
COPY new_item FROM :'file';
\set file :dir '/item_vectors.bin'
COPY new_vector FROM :'file' (FORMAT binary);
INSERT INTO items SELECT * FROM new_item LEFT JOIN new_vector USING (id);

\set file :dir '/events.tsv'
COPY events FROM :'file';
\set file :dir '/held_out.tsv'
COPY held_out FROM :'file';

-- This machine is user 0.
CREATE TEMPORARY TABLE installed (name text);
\set file :dir '/installed.tsv'
COPY installed FROM :'file';
INSERT INTO events
SELECT DISTINCT 0, i.id FROM installed JOIN items i USING (name);

INSERT INTO user_features
SELECT
	e.user_id,
	array_agg(i.id ORDER BY i.id),
	count(*),
	avg(ln(1 + i.size_kb::double precision)),
	avg((i.section IN ('libs', 'oldlibs'))::integer),
	avg((i.section IN ('devel', 'libdevel'))::integer),
	avg((i.section IN ('x11', 'gnome', 'kde', 'xfce', 'graphics', 'video',
		'sound', 'games'))::integer)
FROM events e JOIN items i ON i.id = e.item_id
GROUP BY e.user_id;
VACUUM ANALYZE;
