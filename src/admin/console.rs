//! The console's side of the protocol, simple and extended, by the `pgwire` crate.
//!
//! Messages are cut here, bounded by [`MESSAGE_MAX`], and decoded one by one: the crate's decoders never see more than
//! the one message. Statements are few and small; nothing is kept between them but what clients prepare.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use futures::{Sink, SinkExt, stream};
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{FieldFormat, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::PortalStore;
use pgwire::api::{
    ClientInfo, ClientPortalStore, DefaultClient, NoopHandler, PgWireConnectionState,
    Type as PgType,
};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::data::DataRow;
use pgwire::messages::{DecodeContext, PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::{PgWireMessageServerCodec, process_error, process_message};
use tokio::io::AsyncReadExt;
use tokio_util::codec::Framed;

use super::Admin;
use super::command::{self, Command};
use super::operate::{Outcome, Refusal};
use super::table::{Column, Table, Type};
use crate::net::Stream;
use crate::protocol::frame::client_header;
use crate::protocol::{LocalError, SqlState};
use crate::session::{Rights, Visitor};

/// Longest message of a client.
const MESSAGE_MAX: usize = 64 * 1024;

type Socket = Framed<Stream, PgWireMessageServerCodec<Vec<Command>>>;

/// One client of the console.
struct Console {
    admin: Arc<Admin>,
    rights: Rights,
    user: String,
}

/// Serves a client until it leaves.
pub(super) async fn serve(admin: Arc<Admin>, visitor: Visitor) {
    let Visitor { stream, received, user, peer, rights } = visitor;
    let console = Arc::new(Console { admin, rights, user });
    let result = match stream.attach() {
        Ok(stream) => {
            let mut client = DefaultClient::new(peer.0, false);
            client.set_state(PgWireConnectionState::ReadyForQuery);
            let socket = Framed::new(stream, PgWireMessageServerCodec::new(client));
            console.converse(socket, received).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "console client lost");
    }
}

impl Console {
    async fn converse(
        self: Arc<Self>,
        mut socket: Socket,
        mut received: Vec<u8>,
    ) -> io::Result<()> {
        let mut context = DecodeContext::default();
        context.awaiting_frontend_ssl = false;
        context.awaiting_frontend_startup = false;
        loop {
            let header = match client_header(&received) {
                Ok(Some(header)) if header.bytes > MESSAGE_MAX => {
                    return refuse(&mut socket, "a message too long for the console").await;
                }
                Ok(header) => header.filter(|header| header.bytes <= received.len()),
                Err(fault) => return refuse(&mut socket, &fault.to_string()).await,
            };
            let Some(header) = header else {
                if socket.get_mut().read_buf(&mut received).await? == 0 {
                    return Ok(());
                }
                continue;
            };
            let mut frame: BytesMut = received.drain(..header.bytes).collect();
            let message = match PgWireFrontendMessage::decode(&mut frame, &context) {
                Ok(Some(message)) => message,
                Ok(None) => return refuse(&mut socket, "invalid message format").await,
                Err(error) => return refuse(&mut socket, &error.to_string()).await,
            };
            if matches!(message, PgWireFrontendMessage::Terminate(_)) {
                return Ok(());
            }
            self.answer(message, &mut socket).await?;
        }
    }

    async fn answer(
        self: &Arc<Self>,
        message: PgWireFrontendMessage,
        socket: &mut Socket,
    ) -> io::Result<()> {
        let is_extended = message.is_extended_query();
        let nothing = Arc::new(NoopHandler);
        let result = process_message(
            message,
            socket,
            Arc::clone(&nothing),
            Arc::clone(self),
            Arc::clone(self),
            Arc::clone(&nothing),
            nothing,
        );
        match result.await {
            Ok(()) => Ok(()),
            Err(PgWireError::IoError(error)) => Err(error),
            Err(error) => process_error(socket, error, is_extended).await,
        }
    }

    async fn run<C>(
        &self,
        client: &mut C,
        command: Command,
        format: &Format,
    ) -> PgWireResult<Response>
    where
        C: Sink<PgWireBackendMessage> + Unpin + Send,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let outcome = self.admin.carry_out(command, self.rights, &self.user).await;
        Ok(match outcome.map_err(to_error)? {
            Outcome::Rows(table, tag) => Response::Query(response(table, tag, format)),
            Outcome::Done(tag) => Response::Execution(Tag::new(tag)),
            Outcome::Begun => Response::TransactionStart(Tag::new("BEGIN")),
            Outcome::Ended(tag) => Response::TransactionEnd(Tag::new(tag)),
            Outcome::Told(message, detail, tag) => {
                let mut notice = ErrorInfo::new("NOTICE".to_owned(), "00000".to_owned(), message);
                notice.detail = Some(detail);
                client.feed(PgWireBackendMessage::NoticeResponse(notice.into())).await?;
                Response::Execution(Tag::new(tag))
            }
        })
    }
}

/// The client is out of step for good.
async fn refuse(socket: &mut Socket, message: &str) -> io::Result<()> {
    use tokio::io::AsyncWriteExt;
    let error = LocalError::fatal(SqlState::PROTOCOL_VIOLATION, message.to_owned());
    socket.get_mut().write_all(&error.to_frame()).await?;
    socket.get_mut().shutdown().await
}

fn to_error(refusal: Refusal) -> PgWireError {
    let code = refusal.code.as_str().to_owned();
    let mut info = ErrorInfo::new("ERROR".to_owned(), code, refusal.message);
    info.hint = refusal.hint;
    PgWireError::UserError(Box::new(info))
}

fn read(sql: &str) -> PgWireResult<Vec<Command>> {
    command::read(sql).map_err(|misread| to_error(misread.into()))
}

fn fields(columns: &[Column], format: &Format) -> Vec<FieldInfo> {
    let field = |(at, Column(name, of)): (usize, &Column)| {
        let data_type = match of {
            Type::Text => PgType::TEXT,
            Type::Int4 => PgType::INT4,
            Type::Int8 => PgType::INT8,
            Type::Numeric => PgType::NUMERIC,
        };
        FieldInfo::new((*name).to_owned(), None, None, data_type, format.format_for(at))
    };
    columns.iter().enumerate().map(field).collect()
}

fn response(table: Table, tag: &str, format: &Format) -> QueryResponse {
    let fields = Arc::new(fields(table.columns, format));
    let formats: Vec<FieldFormat> = fields.iter().map(FieldInfo::format).collect();
    let rows = table.rows.into_iter().map(move |row| {
        let mut data = Vec::new();
        for ((value, Column(_, of)), format) in row.iter().zip(table.columns).zip(&formats) {
            value.encode(*of, *format == FieldFormat::Binary, &mut data);
        }
        let count = i16::try_from(row.len()).unwrap_or(i16::MAX);
        Ok(DataRow::new(BytesMut::from(&*data), count))
    });
    let mut response = QueryResponse::new(fields, stream::iter(rows));
    response.set_command_tag(tag);
    response
}

#[async_trait]
impl SimpleQueryHandler for Console {
    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let mut responses = Vec::new();
        for command in read(query)? {
            match self.run(client, command, &Format::UnifiedText).await {
                Ok(response) => responses.push(response),
                // What was done before it is told before it.
                Err(PgWireError::UserError(error)) if !responses.is_empty() => {
                    responses.push(Response::Error(error));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(responses)
    }
}

#[async_trait]
impl ExtendedQueryHandler for Console {
    type Statement = Vec<Command>;
    type QueryParser = Parser;

    fn query_parser(&self) -> Arc<Parser> {
        Arc::new(Parser)
    }

    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<Self::Statement>,
        _max_rows: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match portal.statement.statement.first() {
            Some(command) => self.run(client, command.clone(), &portal.result_column_format).await,
            None => Ok(Response::EmptyQuery),
        }
    }
}

/// From a statement's text to what it asks for.
struct Parser;

#[async_trait]
impl QueryParser for Parser {
    type Statement = Vec<Command>;

    async fn parse_sql<C>(
        &self,
        _client: &C,
        sql: &str,
        _types: &[Option<PgType>],
    ) -> PgWireResult<Option<Self::Statement>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let commands = read(sql)?;
        if commands.len() > 1 {
            let code = SqlState::SYNTAX_ERROR.as_str().to_owned();
            let message = "cannot insert multiple commands into a prepared statement".to_owned();
            let error = ErrorInfo::new("ERROR".to_owned(), code, message);
            return Err(PgWireError::UserError(Box::new(error)));
        }
        Ok(Some(commands).filter(|commands| !commands.is_empty()))
    }

    fn get_parameter_types(&self, _statement: &Self::Statement) -> PgWireResult<Vec<PgType>> {
        Ok(Vec::new())
    }

    fn get_result_schema(
        &self,
        statement: &Self::Statement,
        format: Option<&Format>,
    ) -> PgWireResult<Vec<FieldInfo>> {
        let columns = statement.first().and_then(Command::columns).unwrap_or_default();
        Ok(fields(columns, format.unwrap_or(&Format::UnifiedText)))
    }
}
