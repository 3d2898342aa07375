using Appliance;

switch (args)
{
    case [EngineProcess.Command, string configuration, string runDirectory, .. string[] rest]:
        return EngineProcess.Run(configuration, runDirectory, rest is ["standby"], Console.Error);
    case [ManagerProcess.Command, string configuration, string runDirectory, .. string[] rest]:
        return ManagerProcess.Run(configuration, runDirectory, rest is ["--json-log"], Console.Error);
    default:
        return ApplianceCommandLine.Invoke(args, Terminal.OfProcess(), Composition.Default());
}
