# recsys: a PGXS extension.  `make`, `make install` and `make installcheck`
# work as on any other; `make demo`, `make check` and `make bench` need nothing
# installed.

EXTENSION = recsys
EXTVERSION = 0.1.0
MODULE_big = recsys

# One line a room, lowest level first (see src/README.md).
OBJS = src/recsys.o
OBJS += src/base/guc.o
OBJS += src/kernels/kernels_choose.o src/kernels/kernels_scalar.o \
	src/kernels/kernels_avx2.o src/kernels/kernels_avx512.o \
	src/kernels/kernels_neon.o
OBJS += src/linalg/rotation.o src/linalg/blas.o src/linalg/kmeans.o \
	src/linalg/kmeans_assign.o src/linalg/kmeans_cells.o \
	src/linalg/kmeans_seed.o src/linalg/polar.o
OBJS += src/vector/vector_io.o src/vector/vector_ops.o \
	src/vector/vector_distance.o src/vector/vector_cast.o \
	src/vector/vector_agg.o
OBJS += src/tower/jsontree.o src/tower/safetensors.o src/tower/ops.o \
	src/tower/ops_lookup.o src/tower/ops_scalar.o src/tower/ops_dense.o \
	src/tower/features.o src/tower/spec.o src/tower/forward.o \
	src/tower/store.o src/tower/cache.o src/tower/embed_sql.o \
	src/tower/tower_sql.o
OBJS += src/index/index_page.o src/index/metric.o src/index/buffer_hint.o \
	src/index/index_access.o src/index/index_method.o src/index/recall.o \
	src/index/row_heap.o src/index/found_rows.o src/index/heap_ahead.o \
	src/index/rotator.o src/index/class_validate.o \
	src/index/filter_key.o src/index/filter_plan.o src/index/filter_set.o src/index/last_scan.o \
	src/index/page_stream.o src/index/parallel_build.o src/index/index_check.o \
	src/index/scan_cost.o src/index/scan_limit.o src/index/scan_report.o src/index/scan_stat.o src/index/stat_memory.o \
	src/index/scan_explain.o
OBJS += src/hnsw/hnsw_rows.o src/hnsw/hnsw_keytape.o src/hnsw/hnsw_tapecode.o \
	src/hnsw/hnsw_summary.o src/hnsw/hnsw_tapeorder.o \
	src/hnsw/hnsw_longlist.o src/hnsw/hnsw_longscan.o \
	src/hnsw/hnsw_tapescan.o src/hnsw/hnsw_shortlist.o src/hnsw/hnsw_exact.o \
	src/hnsw/hnsw_inspect.o src/hnsw/hnsw_stats.o src/hnsw/hnsw_check.o \
	src/hnsw/hnsw_check_rows.o src/hnsw/hnsw_check_keys.o \
	src/hnsw/hnsw_check_long.o
OBJS += src/hnsw/hnsw_handler.o src/hnsw/hnsw_node.o src/hnsw/hnsw_store.o \
	src/hnsw/hnsw_meta.o src/hnsw/hnsw_entry.o src/hnsw/hnsw_search.o src/hnsw/hnsw_saturation.o \
	src/hnsw/hnsw_coder.o src/hnsw/hnsw_link.o src/hnsw/hnsw_recent.o src/hnsw/hnsw_build.o \
	src/hnsw/hnsw_insert.o src/hnsw/hnsw_scan.o \
	src/hnsw/hnsw_arena.o src/hnsw/hnsw_entry_build.o src/hnsw/hnsw_flush.o \
	src/hnsw/hnsw_parallel.o src/hnsw/hnsw_vacuum.o \
	src/hnsw/hnsw_repair.o src/hnsw/hnsw_entry_repair.o
OBJS += src/ivfpq/ivf_handler.o src/ivfpq/ivf_page.o src/ivfpq/ivf_space.o \
	src/ivfpq/ivf_meta.o src/ivfpq/ivf_model.o src/ivfpq/ivf_directory.o \
	src/ivfpq/ivf_codebook.o src/ivfpq/ivf_codebook_train.o \
	src/ivfpq/ivf_codebook_rotation.o \
	src/ivfpq/ivf_coder.o src/ivfpq/ivf_tape.o src/ivfpq/ivf_build.o \
	src/ivfpq/ivf_sample.o src/ivfpq/ivf_train.o src/ivfpq/ivf_assign.o \
	src/ivfpq/ivf_rowsort.o src/ivfpq/ivf_parallel.o src/ivfpq/ivf_write.o src/ivfpq/ivf_insert.o \
	src/ivfpq/ivf_scan.o src/ivfpq/ivf_lists.o src/ivfpq/ivf_pool.o \
	src/ivfpq/ivf_refine.o src/ivfpq/ivf_vacuum.o src/ivfpq/ivf_inspect.o \
	src/ivfpq/ivf_stats.o src/ivfpq/ivf_check.o src/ivfpq/ivf_check_rows.o

HDRS = $(wildcard src/*.h src/*/*.h)

INSTALL_SQL = $(sort $(wildcard sql/install/*.sql))
DATA_built = sql/$(EXTENSION)--$(EXTVERSION).sql

# Tests that are the same for both access methods: see sql/index.
INDEX_TESTS = $(foreach am,hnsw ivfpq,$(patsubst sql/index/%,sql/$(am)_%,$(wildcard sql/index/*.sql)))
REGRESS = $(sort $(patsubst sql/%.sql,%,$(wildcard sql/[a-z]*_*.sql) $(INDEX_TESTS)))
REGRESS_OPTS = --inputdir=. --load-extension=recsys

EXTRA_CLEAN = $(DATA_built) $(INDEX_TESTS)

# The scripts install what is missing, build, and run a private server.
ifneq ($(filter demo check bench bench-quick,$(MAKECMDGOALS)),)

.PHONY: demo check bench bench-quick
demo:
	test/setup demo && test/demo/run $(if $(DATA),'$(DATA)')
check:
	test/setup && test/run
# BENCH has further options, such as --rows 100000.
bench:
	test/bench/bench $(BENCH)
bench-quick:
	test/bench/bench --quick $(BENCH)

else

# The exporter of towers, one file, beside the install scripts.
DATA = tools/recsys_export.py

PG_CPPFLAGS = -I$(srcdir)/src \
	$(if $(BLAS_LIBRARY),-DBLAS_LIBRARY='"$(BLAS_LIBRARY)"') \
	-D'PGDLLEXPORT=__attribute__((visibility("default")))'
PG_CFLAGS = -fvisibility=hidden -fno-math-errno -Wall -Wextra -Wno-unused-parameter \
	-Wno-sign-compare $(WERROR)
# OpenBLAS is loaded when it is first needed (src/linalg/blas.c), not linked.
SHLIB_LINK = -lm

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS): $(HDRS)

# Loops over vectors of floats; what the server does with its own such files.
src/tower/ops_lookup.o src/tower/ops_dense.o: CFLAGS += $(CFLAGS_UNROLL_LOOPS) $(CFLAGS_VECTORIZE)

# Compiles without linking: for the opinion of a second compiler.
.PHONY: objs
objs: $(OBJS)

# A part with @am@ in it is for each access method in turn.
sql/$(EXTENSION)--$(EXTVERSION).sql: $(INSTALL_SQL) Makefile
	for part in $(INSTALL_SQL); do \
		if grep -q @am@ $$part; then \
			sed s/@am@/recsys_hnsw/g $$part && sed s/@am@/recsys_ivfpq/g $$part; \
		else \
			cat $$part; \
		fi || exit; \
	done > $@

# @am@ is the access method's name; lines that begin with @hnsw@ or @ivfpq@ are
# for that one alone.
sql/hnsw_%.sql: sql/index/%.sql
	sed -e '/^@ivfpq@/d' -e 's/^@hnsw@//' -e 's/@am@/recsys_hnsw/g' $< > $@
sql/ivfpq_%.sql: sql/index/%.sql
	sed -e '/^@hnsw@/d' -e 's/^@ivfpq@//' -e 's/@am@/recsys_ivfpq/g' $< > $@

installcheck: $(INDEX_TESTS)

.PHONY: index-tests
index-tests: $(INDEX_TESTS)

endif
