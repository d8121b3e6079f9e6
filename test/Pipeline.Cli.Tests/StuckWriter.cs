namespace Pipeline.Cli.Tests;

/// <summary>An output that takes nothing before it is released, and blocks its thread as a console does.</summary>
internal sealed class StuckWriter : StringWriter
{
    private readonly ManualResetEventSlim _released = new();

    public void Release() => _released.Set();

    public override Task WriteLineAsync(string? value)
    {
        _released.Wait(TimeSpan.FromSeconds(30));
        WriteLine(value);
        return Task.CompletedTask;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _released.Dispose();
        }

        base.Dispose(disposing);
    }
}
