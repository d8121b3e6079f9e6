using System.CommandLine;
using System.Globalization;
using System.Net;
using Pipeline.Cryptography;
using Pipeline.Discovery;
using Pipeline.Transport;

namespace Pipeline.Experiments.Keeping;

/// <summary>
/// A process that changes an address book and writes it to its file all the time, until it is killed. What the book holds after each write is known,
/// so that whoever reads the file can tell whether it is one of those states.
/// </summary>
internal static class BookKeeper
{
    public const string CommandName = "keep-book";

    /// <summary>How many addresses never change.</summary>
    public const int Constant = 2_000;

    /// <summary>How many addresses have the number of the state as their port.</summary>
    public const int Changing = 100;

    /// <summary>A command that writes the number of each state to standard output when it is on disk, that of the opened one first; 0 for none.</summary>
    public static Command CreateCommand(CommandHost host)
    {
        Argument<string> path = new("FILE") { Description = "The file of the book." };
        Command command = new(CommandName, "Changes and writes an address book all the time, for a test that kills it.") { Hidden = true };
        command.Arguments.Add(path);
        command.SetAction(async (arguments, cancellationToken) =>
        {
            await using AddressBook book = AddressBook.Open(arguments.GetValue(path)!);
            ushort state = StateOf(book) ?? 0;
            do
            {
                await host.Output.WriteLineAsync(state.ToString(CultureInfo.InvariantCulture));
                await host.Output.FlushAsync(cancellationToken);
                Enter(book, ++state);
            }
            while (await book.FlushAsync(cancellationToken));

            return ExitCode.Failure;
        });
        return command;
    }

    /// <summary>The number of the state that a book is in; null when it is in none.</summary>
    public static ushort? StateOf(AddressBook book)
    {
        ushort[] ports = [.. Enumerable.Range(1, Changing).Select(i => book.Find(IdOf(i))?.Address.Port ?? 0).Distinct()];
        return book.Count == Constant + Changing && ports is [not 0] ? ports[0] : null;
    }

    private static void Enter(AddressBook book, ushort state)
    {
        for (int i = 1; i <= (state == 1 ? Changing + Constant : Changing); i++)
        {
            // Each tells of itself, so that they are spread over all buckets and none is full.
            NetAddress address = new(IdOf(i), new IPAddress([(byte)(11 + (i % 100)), (byte)(i / 100), 0, 1]).ToString(), i <= Changing ? state : (ushort)26656);
            if (i <= Changing)
            {
                book.Remove(address.Id);
            }

            book.Add(address, address);
        }
    }

    private static NodeId IdOf(int number) => NodeId.Parse(number.ToString("x40", CultureInfo.InvariantCulture));
}
