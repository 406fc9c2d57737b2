//! The program: parse the command line, hand over, exit code (0 ok, 1 failed, 2 wrong usage).

use std::process::ExitCode;

fn main() -> ExitCode {
    modelbeat::cli::main()
}
