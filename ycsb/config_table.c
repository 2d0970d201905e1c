/* SPDX-License-Identifier: MIT */
#include "ycsb/config_table.h"

#include "ycsb/config.h"
#include "ycsb/store.h"

#define AT(member) offsetof(struct ycsb_config, member)

#define INT(name, member, initial, min, max, help)                             \
	{                                                                      \
		name, YCSB_KIND_INT, AT(member), initial, min, max, NULL, help \
	}
#define REAL(name, member, initial, min, max, help)                             \
	{                                                                       \
		name, YCSB_KIND_REAL, AT(member), initial, min, max, NULL, help \
	}
#define BOOL(name, member, initial, help)                                   \
	{                                                                   \
		name, YCSB_KIND_BOOL, AT(member), initial, 0, 0, NULL, help \
	}
#define CHOICE(name, member, initial, choices, help)                             \
	{                                                                        \
		name, YCSB_KIND_CHOICE, AT(member), initial, 0, 0, choices, help \
	}
#define TEXT(name, member, initial, help)                                   \
	{                                                                   \
		name, YCSB_KIND_TEXT, AT(member), initial, 0, 0, NULL, help \
	}
#define IGNORED(name, help)                                        \
	{                                                          \
		name, YCSB_KIND_IGNORED, 0, NULL, 0, 0, NULL, help \
	}

#define COUNT_MAX 1e15
#define LEN_MAX   1048576

static const struct ycsb_choice lengths[] = { { "constant", YCSB_LENGTH_CONSTANT },
					      { "uniform", YCSB_LENGTH_UNIFORM },
					      { "zipfian", YCSB_LENGTH_ZIPFIAN },
					      { NULL, 0 } };
static const struct ycsb_choice scan_lengths[] = { { "uniform", YCSB_UNIFORM },
						   { "zipfian", YCSB_ZIPFIAN },
						   { NULL, 0 } };
static const struct ycsb_choice requests[] = { { "uniform", YCSB_UNIFORM },
					       { "zipfian", YCSB_ZIPFIAN },
					       { "latest", YCSB_LATEST },
					       { "hotspot", YCSB_HOTSPOT },
					       { "sequential", YCSB_SEQUENTIAL },
					       { "exponential", YCSB_EXPONENTIAL },
					       { NULL, 0 } };
static const struct ycsb_choice orders[] = { { "hashed", 0 }, { "ordered", 1 }, { NULL, 0 } };
static const struct ycsb_choice switches[] = { { "on", 1 }, { "off", 0 }, { NULL, 0 } };
static const struct ycsb_choice intervals[] = { { "op", YCSB_INTERVAL_OP },
						{ "intended", YCSB_INTERVAL_INTENDED },
						{ "both", YCSB_INTERVAL_BOTH },
						{ NULL, 0 } };
/* The plain histogram of YCSB has 1 ms buckets; whoever asks for it gets the finer one. */
static const struct ycsb_choice measurements[] = { { "hdrhistogram", 0 },
						   { "histogram", 0 },
						   { NULL, 0 } };
static const struct ycsb_choice workloads[] = { { "site.ycsb.workloads.CoreWorkload", 0 },
						{ "com.yahoo.ycsb.workloads.CoreWorkload", 0 },
						{ "CoreWorkload", 0 },
						{ "core", 0 },
						{ NULL, 0 } };
#define EXPORTERS "site.ycsb.measurements.exporter."
static const struct ycsb_choice exporters[] = {
	{ "text", YCSB_EXPORT_TEXT },
	{ "json", YCSB_EXPORT_JSON },
	{ "jsonarray", YCSB_EXPORT_JSON_ARRAY },
	{ EXPORTERS "TextMeasurementsExporter", YCSB_EXPORT_TEXT },
	{ EXPORTERS "JSONMeasurementsExporter", YCSB_EXPORT_JSON },
	{ EXPORTERS "JSONArrayMeasurementsExporter", YCSB_EXPORT_JSON_ARRAY },
	{ NULL, 0 },
};
const struct ycsb_property ycsb_property_table[] = {
	INT("recordcount", record_cnt, "0", 0, COUNT_MAX, "records in the table after load"),
	INT("operationcount", operation_cnt, "0", 0, COUNT_MAX,
	    "operations of the run phase; 0: until maxexecutiontime"),
	INT("insertstart", insert_start, "0", 0, COUNT_MAX, "number of the first key to load"),
	INT("insertcount", insert_cnt, "-1", 0, COUNT_MAX,
	    "keys to load (default recordcount - insertstart)"),
	INT("fieldcount", field_cnt, "10", 1, LEN_MAX, "fields of a record"),
	INT("fieldlength", field_len, "100", 1, LEN_MAX, "bytes of a field, or the most of them"),
	INT("minfieldlength", field_len_min, "1", 1, LEN_MAX,
	    "fewest bytes of a field of varying length"),
	CHOICE("fieldlengthdistribution", field_len_distribution, "constant", lengths,
	       "constant, uniform or zipfian"),
	BOOL("readallfields", read_all_fields, "true",
	     "read all fields; a record is one value here, so a read moves all of it anyway"),
	BOOL("writeallfields", write_all_fields, "false",
	     "an update writes all fields (one write) and not one of them (read, then write)"),
	REAL("readproportion", read_proportion, "0.95", 0, 1, "share of reads"),
	REAL("updateproportion", update_proportion, "0.05", 0, 1, "share of updates"),
	REAL("insertproportion", insert_proportion, "0", 0, 1, "share of inserts"),
	REAL("scanproportion", scan_proportion, "0", 0, 1, "share of scans"),
	REAL("readmodifywriteproportion", rmw_proportion, "0", 0, 1, "share of read-modify-writes"),
	INT("minscanlength", scan_len_min, "1", 1, 1e6, "fewest records of a scan"),
	INT("maxscanlength", scan_len_max, "1000", 1, 1e6, "most records of a scan"),
	CHOICE("scanlengthdistribution", scan_len_distribution, "uniform", scan_lengths,
	       "uniform or zipfian"),
	CHOICE("requestdistribution", request_distribution, "uniform", requests,
	       "uniform, zipfian, latest, hotspot, sequential or exponential"),
	REAL("hotspotdatafraction", hotspot_data_fraction, "0.2", 0, 1,
	     "share of the keys that are hot"),
	REAL("hotspotopnfraction", hotspot_operation_fraction, "0.8", 0, 1,
	     "share of the operations that go to hot keys"),
	REAL("exponential.percentile", exponential_percentile, "95", 1, 99.9999,
	     "per cent of the operations within exponential.frac"),
	REAL("exponential.frac", exponential_fraction, "0.8571428571", 1e-9, 1,
	     "share of the newest keys that exponential.percentile stands for"),
	CHOICE("insertorder", insert_ordered, "hashed", orders, "hashed or ordered"),
	INT("zeropadding", zero_padding, "1", 0, 100, "fewest digits of a key's number"),
	TEXT("table", table, "usertable", "name of the table"),
	INT("core_workload_insertion_retry_limit", insert_retry_limit, "0", 0, 1000000,
	    "tries after a failed insert of the load phase"),
	INT("core_workload_insertion_retry_interval", insert_retry_interval_s, "3", 0, 3600,
	    "seconds between them"),
	BOOL("core_workload_insertion_keep_going_on_error", insert_keep_going, "false",
	     "a failed insert does not end the load"),
	BOOL("dataintegrity", data_integrity, "false",
	     "write recomputable values and verify every value read"),
	INT("maxexecutiontime", execution_max_s, "0", 0, 1e7, "seconds of a phase at most; 0: any"),
	INT("threadcount", thread_cnt, "1", 1, YCSB_THREADS_MAX, "client threads"),
	INT("target", target_ops, "0", 0, 1e12, "operations per second, all threads; 0: any"),
	BOOL("status", status, "false", "show a status line (as -s)"),
	INT("status.interval", status_interval_s, "10", 1, 86400, "seconds between status lines"),
	TEXT("label", label, NULL, "goes before the status line (as -l)"),
	CHOICE("measurement.interval", interval, "op", intervals,
	       "op, intended (latency from the scheduled start, with target) or both"),
	CHOICE("measurementtype", measurement_type, "hdrhistogram", measurements, "hdrhistogram"),
	{ "hdrhistogram.percentiles", YCSB_KIND_PERCENTILES, 0, "50,95,99,99.9,99.99", 0, 100, NULL,
	  "percentiles to report (YCSB's own default is 50,95,99)" },
	BOOL("hdrhistogram.fileoutput", hdr_file, "false",
	     "write a histogram log per operation (HdrHistogram log 1.3, values in ns)"),
	TEXT("hdrhistogram.output.path", hdr_path, NULL, "prefix of the histogram log's name"),
	BOOL("measurement.histogram.verbose", histogram_verbose, "false",
	     "report every non-empty bucket"),
	CHOICE("exporter", exporter, "text", exporters, "text, json or jsonarray, or YCSB's class"),
	TEXT("exportfile", export_file, NULL, "file for the results (default standard output)"),
	CHOICE("workload", workload_class, "site.ycsb.workloads.CoreWorkload", workloads,
	       "the core workload"),

	TEXT("patronus.target", target, "inproc",
	     "inproc (a node inside this process), shm:PATH or verbs:DEVICE,PATH (a node that runs)"),
	CHOICE("patronus.protection", protection, "on", switches,
	       "on: leased windows; off: one region, always open"),
	{ "patronus.memory", YCSB_KIND_SIZE, AT(memory_bytes), "0", 0, 1e15, NULL,
	  "bytes of an inproc node, suffix K M G T (default from recordcount)" },
	INT("patronus.term.ms", term_ms, "0", 0, 86400000,
	    "lease term in ms; 0: the library's default"),
	INT("patronus.seed", seed, "1", 0, 9e15, "seed of the random numbers"),
	INT("patronus.initial.slots", initial_slots, "0", 0, 1e12,
	    "slots the table starts with; 0: the library's default"),
	INT("patronus.depth", depth, "1", 1, YCSB_DEPTH_MAX,
	    "reads, updates and read-modify-writes a thread has under way; 1: one after the other"),
	TEXT("patronus.json", json_file, NULL, "file for a full JSON report"),
	TEXT("patronus.hgrm", hgrm_dir, NULL, "folder for a .hgrm file per operation"),

	IGNORED("fieldnameprefix", "field names are not stored"),
	IGNORED("readallfieldsbyname", "a record is one value"),
	IGNORED("db", "the store is named on the command line"),
	IGNORED("dotransactions", "the phase is named on the command line"),
	IGNORED("columnfamily", "tables have no column families"),
	IGNORED("maxscanrate", "of one other store"),
	IGNORED("scanoptimelimit", "of one other store"),
	IGNORED("discardscannedrecord", "of one other store"),
	IGNORED("histogram.buckets", "the histogram covers every latency"),
	IGNORED("timeseries.granularity", "there are no time series"),
	IGNORED("measurement.trackjvm", "there is no JVM"),
	IGNORED("reportlatencyforeacherror", "failures are counted by kind, timed together"),
	IGNORED("latencytrackederrors", "failures are counted by kind, timed together"),
	IGNORED("spin.sleep", "the client sleeps until shortly before the time, then spins"),
	{ NULL, YCSB_KIND_IGNORED, 0, NULL, 0, 0, NULL, NULL },
};
