//! What a FunctionCall message may leave behind: it names its function by OID, so there is no text to scan.

use super::session_effects::{Effect, Effects};

/// The effects of calling the function with this OID through the FunctionCall message.
///
/// OIDs below 10000 are fixed in PostgreSQL's sources (src/include/catalog/pg_proc.dat). Drivers use the message
/// for large objects, whose descriptors end with the transaction. A function that isn't PostgreSQL's own may do
/// anything; of PostgreSQL's own only these are known not to.
pub fn function_call_effects(oid: u32) -> Effects {
    if LARGE_OBJECT_FUNCTIONS.contains(&oid) {
        Effects::NONE
    } else if oid >= FIRST_NORMAL_OID {
        Effects::from(Effect::Routine)
    } else {
        Effects::from(Effect::Unknown)
    }
}

/// Lower ones are PostgreSQL's own (`FirstNormalObjectId`).
const FIRST_NORMAL_OID: u32 = 16_384;

const LARGE_OBJECT_FUNCTIONS: [u32; 20] = [
    715,  // lo_create(oid)
    764,  // lo_import(text)
    765,  // lo_export(oid, text)
    767,  // lo_import(text, oid)
    952,  // lo_open
    953,  // lo_close
    954,  // loread
    955,  // lowrite
    956,  // lo_lseek
    957,  // lo_creat
    958,  // lo_tell
    964,  // lo_unlink
    1004, // lo_truncate
    3170, // lo_lseek64
    3171, // lo_tell64
    3172, // lo_truncate64
    3457, // lo_from_bytea
    3458, // lo_get(oid)
    3459, // lo_get(oid, bigint, integer)
    3460, // lo_put
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_object_functions_leave_nothing() {
        for oid in LARGE_OBJECT_FUNCTIONS {
            assert!(function_call_effects(oid).is_empty(), "{oid}");
        }
    }

    #[test]
    fn any_other_function_may_do_anything() {
        // set_config, pg_advisory_lock.
        for oid in [0, 2078, 2880, 16_383] {
            assert!(function_call_effects(oid).contains(Effect::Unknown), "{oid}");
        }
        for oid in [16_384, u32::MAX] {
            assert!(function_call_effects(oid).contains(Effect::Routine), "{oid}");
        }
    }
}
