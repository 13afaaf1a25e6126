//! The command line. Scripts depend on its words, so they are a contract.

use clap::{Parser, Subcommand};

use crate::{
    command::{Context, bot, demo, doctor, explain, hot, import, limits, schema},
    config::{CommonArgs, ServeArgs},
    error::CommandError,
    output::Done,
};

/// Chat storage and delivery at scale, behind Discord's API.
#[derive(Debug, Parser)]
#[command(name = "weir", version, max_term_width = 110, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// Without one: serve.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run every tier in this process
    Serve(ServeArgs),
    /// Load a chat file: one JSON object a line, plain or gzip
    Import(import::ImportArgs),
    /// Bots and their tokens
    Bot {
        /// What to do.
        #[command(subcommand)]
        action: bot::BotAction,
    },
    /// Limits, changed while the service runs
    Limits {
        /// What to do.
        #[command(subcommand)]
        action: limits::LimitsAction,
    },
    /// The hottest channels now
    Hot(hot::HotArgs),
    /// What the service knows about a channel, and how a read of its newest page would be served now
    Explain(explain::ExplainArgs),
    /// The tables of a CQL cluster
    Schema {
        /// What to do.
        #[command(subcommand)]
        action: schema::SchemaAction,
    },
    /// Check configuration, files, store and machine, and say what to do
    Doctor,
    /// Create a guild, a bot and a few messages, and print requests to try
    Demo(demo::DemoArgs),
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// [`CommandError`]
    ///
    /// # Panics
    /// For `serve`, which `main` handles before it calls this.
    pub(crate) async fn run(self, context: &Context) -> Result<Done, CommandError> {
        match self {
            Self::Serve(_) => unreachable!("main runs it by itself"),
            Self::Import(args) => import::run(args, context).await,
            Self::Bot { action } => bot::run(action, context).await,
            Self::Limits { action } => limits::run(action, context).await,
            Self::Hot(args) => hot::run(args, context).await,
            Self::Explain(args) => explain::run(args, context).await,
            Self::Schema { action } => schema::run(action, context).await,
            Self::Doctor => doctor::run(context).await,
            Self::Demo(args) => demo::run(args, context).await,
        }
    }
}

#[cfg(test)]
mod tests;
