"""Functions of SQLite and PostgreSQL that sqlglot does not know by name and that give nothing but their arguments.

Any other function may look anything up by itself, so what it returns is not followed.
"""

from __future__ import annotations

KNOWN = frozenset(
    "abs acos age array_length array_position array_to_string ascii asin atan bit_length bool_and bool_or btrim ceil "
    "char_length character_length chr clock_timestamp concat concat_ws cos cosh cot date date_bin date_part datetime "
    "decode degrees div encode every exp factorial floor format gcd gen_random_uuid glob group_concat hex ifnull iif "
    "initcap instr isfinite json json_agg json_array json_array_length json_build_array json_build_object json_extract "
    "json_group_array json_group_object json_insert json_object json_object_agg json_quote json_remove json_replace "
    "json_set json_type json_valid jsonb jsonb_agg jsonb_array_length jsonb_build_array jsonb_build_object "
    "json_extract_path json_extract_path_text jsonb_extract_path jsonb_extract_path_text "
    "jsonb_extract jsonb_group_array jsonb_group_object jsonb_object jsonb_object_agg jsonb_typeof json_typeof "
    "julianday justify_days justify_hours lcm left length like likelihood likely ln log10 log2 lpad ltrim make_date "
    "make_interval make_time make_timestamp max md5 median min mod mode now nullif num_nonnulls num_nulls octet_length "
    "overlay pi position power printf quote quote_ident quote_literal quote_nullable radians random randomblob "
    "regexp_count regexp_instr regexp_match regexp_replace regexp_split_to_array regexp_substr repeat replace reverse "
    "right round row row_to_json rpad rtrim scale sha224 sha256 sha384 sha512 sign sin sinh soundex split_part sqrt "
    "starts_with statement_timestamp strftime strpos substr substring tan tanh time timediff timeofday timestamp "
    "to_char to_date to_hex to_json to_jsonb to_number to_timestamp total transaction_timestamp translate trim trunc "
    "typeof unhex unicode unixepoch unlikely upper lower version sqlite_version width_bucket zeroblob string_agg "
    "array_agg stddev variance var_pop var_samp stddev_pop stddev_samp corr covar_pop covar_samp regr_slope "
    "regr_intercept percentile_cont percentile_disc bit_and bit_or bit_xor rank dense_rank row_number ntile lag lead "
    "first_value last_value nth_value cume_dist percent_rank".split()
)
TABLES = frozenset(
    "generate_series exploding_generate_series json_each json_tree unnest pragma_table_info pragma_table_list "
    "pragma_index_list pragma_foreign_key_list".split()
)
"""Functions that make a table of their arguments, or of the schema alone."""
