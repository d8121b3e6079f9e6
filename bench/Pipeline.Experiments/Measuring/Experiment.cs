namespace Pipeline.Experiments.Measuring;

/// <summary>A question about what happens under load, and how to find the answer.</summary>
internal abstract record Experiment
{
    /// <summary>Its name on the command line.</summary>
    public abstract string Name { get; }

    /// <summary>Its heading in a report.</summary>
    public abstract string Title { get; }

    /// <summary>What is done, and what is measured, in a few sentences for a report.</summary>
    public abstract string Description { get; }

    public abstract Task<ExperimentResult> RunAsync(RunContext context);
}
