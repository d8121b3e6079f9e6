using System.Text;

namespace Pipeline.Cli.Logging;

/// <summary>Writes lines to a writer that may fail: a line that cannot be written, on a disk that is full, is lost, and the next one is tried again.</summary>
internal sealed class UnbreakableWriter(TextWriter writer) : TextWriter
{
    public override Encoding Encoding => writer.Encoding;

    public override Task WriteLineAsync(string? value)
    {
        try
        {
            writer.WriteLine(value);
            writer.Flush();
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or UnauthorizedAccessException)
        {
            // There is nowhere to say so.
        }

        return Task.CompletedTask;
    }
}
