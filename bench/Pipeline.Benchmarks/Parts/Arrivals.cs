namespace Pipeline.Benchmarks.Parts;

/// <summary>Tells when the last of a number of items has come. They come one after the other.</summary>
internal sealed class Arrivals
{
    private TaskCompletionSource _all = new();
    private int _missing;

    /// <summary>Called while nothing is on its way.</summary>
    public Task Expect(int count)
    {
        _all = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _missing = count;
        return _all.Task;
    }

    public void Count()
    {
        if (--_missing == 0)
        {
            _all.SetResult();
        }
    }
}
