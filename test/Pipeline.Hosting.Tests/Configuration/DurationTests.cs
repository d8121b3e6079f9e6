using CsCheck;
using Pipeline.Hosting.Configuration;

namespace Pipeline.Hosting.Tests.Configuration;

[TestFixture]
public sealed class DurationTests
{
    [TestCase("0", 0)]
    [TestCase("0s", 0)]
    [TestCase("500ms", 500)]
    [TestCase("1m30s", 90_000)]
    [TestCase("1.5h", 5_400_000)]
    [TestCase(".5s", 500)]
    [TestCase("168h0m0s", 604_800_000)]
    [TestCase("2000us", 2)]
    [TestCase("2000\u00b5s", 2)]
    [TestCase("3000000ns", 3)]
    public void What_Go_writes_is_read(string text, int milliseconds) =>
        Assert.That(Duration.TryParse(text), Is.EqualTo(TimeSpan.FromMilliseconds(milliseconds)));

    [TestCase("")]
    [TestCase("3")]
    [TestCase("s")]
    [TestCase("3 s")]
    [TestCase("-3s")]
    [TestCase("1.2.3s")]
    [TestCase("3parsecs")]
    [TestCase("99999999999999999999999999999999s")]
    [TestCase("9999999999h")]
    public void Anything_else_is_no_duration(string text) => Assert.That(Duration.TryParse(text), Is.Null);

    [TestCase(0, "0s")]
    [TestCase(100, "100ms")]
    [TestCase(1500, "1.5s")]
    [TestCase(90_000, "1m30s")]
    [TestCase(100_800_000, "28h")]
    [TestCase(3_600_001, "1h1ms")]
    public void Durations_are_written_short(int milliseconds, string text) =>
        Assert.That(Duration.Format(TimeSpan.FromMilliseconds(milliseconds)), Is.EqualTo(text));

    [Test]
    public void What_is_written_is_read_again() =>
        Gen.Long[0, long.MaxValue / 2].Sample(ticks => Assert.That(Duration.TryParse(Duration.Format(new TimeSpan(ticks))), Is.EqualTo(new TimeSpan(ticks))));
}
