# Damaged tower files: whatever bytes are changed or cut, import answers with
# an error or takes a file that still runs; the server never falls.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $python = $ENV{PYTHON} || 'python3';
if (system("$python -c 'import numpy' >/dev/null 2>&1") != 0)
{
	diag("SKIP: $python has no numpy, damaged towers are not tested");
	plan skip_all => "$python has no numpy";
}

my $towers = 12;
my $damages = 400;				# of each tower

my $node = PostgreSQL::Test::Cluster->new('fuzz');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION recsys');
my $dir = PostgreSQL::Test::Utils::tempdir;
my ($out, $error) = run_command(
	[ $python, 'test/tower/parity.py', $dir, 1000, $towers ]);
is($error, '', 'towers are written');

# Change a few bytes (often in the header, often to a digit or a mark of
# JSON), or cut the file; import it and run its golden rows.
$node->safe_psql('postgres', q{
	CREATE TABLE answers (taken boolean, state text);
	CREATE FUNCTION damage(f bytea) RETURNS bytea LANGUAGE plpgsql AS $$
	DECLARE
		marks bytea := '0123456789-.eE{}[]",:tfn';
		header int := CASE WHEN random() < 0.8 THEN least(4000, length(f)) ELSE length(f) END;
	BEGIN
		FOR i IN 1 .. 1 + (random() * 2)::int LOOP
			f := set_byte(f, (random() * (header - 1))::int,
				CASE WHEN random() < 0.7 THEN get_byte(marks, (random() * (length(marks) - 1))::int)
				ELSE (random() * 255)::int END);
		END LOOP;
		RETURN CASE WHEN random() < 0.1 THEN substring(f FOR (random() * length(f))::int) ELSE f END;
	END $$;
	CREATE FUNCTION fuzz(f bytea, n int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. n LOOP
			BEGIN
				PERFORM recsys.import_model('fuzz', damage(f));
				PERFORM recsys.verify_model('fuzz');
				INSERT INTO answers VALUES (true);
			EXCEPTION WHEN OTHERS THEN
				INSERT INTO answers VALUES (false, SQLSTATE);
			END;
		END LOOP;
	END $$;});
for my $k (0 .. $towers - 1)
{
	my ($rc, undef, $err) = $node->psql('postgres', "SELECT setseed(0.$k);
		SELECT fuzz(pg_read_binary_file('$dir/tower_$k.safetensors'), $damages)");
	is("$rc$err", '0', "tower $k, damaged $damages times");
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM answers'), $towers * $damages, 'each had an answer');
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT state, ' ') FROM answers WHERE state LIKE 'XX%'}),
	'', 'none of them an internal error');
my $taken = $node->safe_psql('postgres', 'SELECT count(*) FROM answers WHERE taken');
cmp_ok($taken, '<', $towers * $damages / 2, "most are refused ($taken taken)");

$node->stop;
done_testing();
