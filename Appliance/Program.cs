using Appliance;

if (args is [EngineProcess.Command, string configuration, string runDirectory]) return EngineProcess.Run(configuration, runDirectory, Console.Error);
return ApplianceCommandLine.Invoke(args, new Terminal(Console.Out, Console.Error), Composition.Default());
