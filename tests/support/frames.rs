//! Bytes of client messages, valid or not: each function gives one whole message.
//!
//! Formats: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

/// Protocol 3.0.
pub const PROTOCOL_3_0: u32 = 3 << 16;
/// Protocol 3.2 (PostgreSQL 18): longer cancel keys.
pub const PROTOCOL_3_2: u32 = (3 << 16) + 2;

/// A message with any tag and body.
pub fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(length(body.len() + 4));
    bytes.extend(body);
    bytes
}

/// A message that lies about its length.
pub fn frame_with_length(tag: u8, claimed: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(claimed.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A startup packet of any version with any parameters.
pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in parameters {
        body.extend(text(name));
        body.extend(text(value));
    }
    body.push(0);
    untagged(version, &body)
}

/// SSLRequest.
pub fn ssl_request() -> Vec<u8> {
    untagged(special(5679), &[])
}

/// GSSENCRequest.
pub fn gss_request() -> Vec<u8> {
    untagged(special(5680), &[])
}

/// CancelRequest; the key has four bytes in protocol 3.0, up to 256 in 3.2.
pub fn cancel_request(pid: i32, key: &[u8]) -> Vec<u8> {
    untagged(special(5678), &[&pid.to_be_bytes(), key].concat())
}

/// A packet of the startup phase: length, code, body.
pub fn untagged(code: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = length(body.len() + 8).to_vec();
    bytes.extend(code.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// Query.
pub fn query(sql: &str) -> Vec<u8> {
    frame(b'Q', &text(sql))
}

/// Parse; `types` may be shorter than the statement's parameters.
pub fn parse(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = [text(name), text(sql)].concat();
    body.extend(count(types.len()));
    body.extend(types.iter().flat_map(|oid| oid.to_be_bytes()));
    frame(b'P', &body)
}

/// Bind with text parameters and text results.
pub fn bind(portal: &str, statement: &str, parameters: &[Option<&str>]) -> Vec<u8> {
    let parameters: Vec<_> = parameters.iter().map(|p| p.map(str::as_bytes)).collect();
    bind_formats(portal, statement, &[], &parameters, &[])
}

/// Bind with any formats (0 text, 1 binary).
pub fn bind_formats(
    portal: &str,
    statement: &str,
    parameter_formats: &[i16],
    parameters: &[Option<&[u8]>],
    result_formats: &[i16],
) -> Vec<u8> {
    let mut body = [text(portal), text(statement)].concat();
    body.extend(formats(parameter_formats));
    body.extend(values(parameters));
    body.extend(formats(result_formats));
    frame(b'B', &body)
}

/// Describe a statement (`b'S'`) or portal (`b'P'`).
pub fn describe(kind: u8, name: &str) -> Vec<u8> {
    frame(b'D', &[vec![kind], text(name)].concat())
}

/// Execute; 0 rows: all.
pub fn execute(portal: &str, rows: i32) -> Vec<u8> {
    frame(b'E', &[text(portal), rows.to_be_bytes().to_vec()].concat())
}

/// Close a statement (`b'S'`) or portal (`b'P'`).
pub fn close(kind: u8, name: &str) -> Vec<u8> {
    frame(b'C', &[vec![kind], text(name)].concat())
}

/// Sync.
pub fn sync() -> Vec<u8> {
    frame(b'S', &[])
}

/// Flush.
pub fn flush() -> Vec<u8> {
    frame(b'H', &[])
}

/// Terminate.
pub fn terminate() -> Vec<u8> {
    frame(b'X', &[])
}

/// CopyData.
pub fn copy_data(data: &[u8]) -> Vec<u8> {
    frame(b'd', data)
}

/// CopyDone.
pub fn copy_done() -> Vec<u8> {
    frame(b'c', &[])
}

/// CopyFail.
pub fn copy_fail(why: &str) -> Vec<u8> {
    frame(b'f', &text(why))
}

/// FunctionCall with text arguments and a text result.
pub fn function_call(oid: u32, arguments: &[Option<&str>]) -> Vec<u8> {
    let arguments: Vec<_> = arguments.iter().map(|a| a.map(str::as_bytes)).collect();
    let mut body = oid.to_be_bytes().to_vec();
    body.extend(formats(&[]));
    body.extend(values(&arguments));
    body.extend(0_i16.to_be_bytes());
    frame(b'F', &body)
}

/// PasswordMessage with a text password.
pub fn password(password: &str) -> Vec<u8> {
    frame(b'p', &text(password))
}

/// SASLInitialResponse.
pub fn sasl_initial(mechanism: &str, response: &[u8]) -> Vec<u8> {
    let mut body = text(mechanism);
    body.extend(length(response.len()));
    body.extend(response);
    frame(b'p', &body)
}

/// SASLResponse.
pub fn sasl_response(response: &[u8]) -> Vec<u8> {
    frame(b'p', response)
}

/// Parse, Bind, Describe, Execute of one unnamed statement, without a Sync.
pub fn extended(sql: &str, parameters: &[Option<&str>]) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", parameters), describe(b'P', ""), execute("", 0)].concat()
}

/// A request code of the startup phase: protocol "1234.CODE".
fn special(code: u32) -> u32 {
    (1234 << 16) + code
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).expect("a test's message is below 2 GiB").to_be_bytes()
}

fn count(items: usize) -> [u8; 2] {
    u16::try_from(items).expect("at most 65535 items").to_be_bytes()
}

fn formats(formats: &[i16]) -> Vec<u8> {
    let mut bytes = count(formats.len()).to_vec();
    bytes.extend(formats.iter().flat_map(|format| format.to_be_bytes()));
    bytes
}

fn values(values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut bytes = count(values.len()).to_vec();
    for value in values {
        match value {
            Some(value) => {
                bytes.extend(length(value.len()));
                bytes.extend(*value);
            }
            None => bytes.extend((-1_i32).to_be_bytes()),
        }
    }
    bytes
}
