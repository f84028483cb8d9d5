//! The command `handfast`.

fn main() -> handfast::daemon::Exit {
    handfast::daemon::main()
}
