namespace Pipeline.Cli.Demo.Views;

/// <summary>Shows a run while it goes on.</summary>
internal interface IDemoView
{
    /// <summary>Starts a run when it is ready to show it, and shows it until it has ended, however it ends.</summary>
    /// <param name="read">Reads the figures of the moment.</param>
    /// <param name="start">Starts the run.</param>
    /// <returns>Completes as the run does.</returns>
    Task<DemoSummary> ShowAsync(Func<DemoSnapshot> read, Func<Task<DemoSummary>> start);
}

/// <summary>Shows nothing.</summary>
internal sealed class NoView : IDemoView
{
    public Task<DemoSummary> ShowAsync(Func<DemoSnapshot> read, Func<Task<DemoSummary>> start) => start();
}
