using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Tests;

[TestFixture]
public sealed class OpenFilesTests
{
    [Test, Platform("Linux")]
    public void More_sockets_than_the_process_may_have_are_refused_with_both_numbers() =>
        Assert.That(
            () => OpenFiles.EnsureRoom("Billions of connections", 2_100_000_000),
            Throws.TypeOf<ExperimentException>().With.Message.Match("^Billions of connections need 2,100,000,200 open files, and this process may have [0-9,]+:"));

    [Test]
    public void A_few_sockets_are_always_there() => Assert.That(() => OpenFiles.EnsureRoom("A few", 10), Throws.Nothing);
}
